{{ hourly_mart('url') }}
