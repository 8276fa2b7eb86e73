{{ hourly_mart('error_group') }}
