{{ hourly_mart('channel') }}
