{{ hourly_mart('country') }}
