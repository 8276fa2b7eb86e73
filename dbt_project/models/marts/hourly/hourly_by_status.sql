{{ hourly_mart('status') }}
