{{ hourly_mart('status_group') }}
