{{ hourly_mart('application') }}
