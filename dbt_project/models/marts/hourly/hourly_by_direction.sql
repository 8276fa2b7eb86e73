{{ hourly_mart('direction') }}
