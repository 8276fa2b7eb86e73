{{ hourly_mart('sender') }}
