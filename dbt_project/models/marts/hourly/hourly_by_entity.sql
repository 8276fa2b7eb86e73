{{ hourly_mart('entity') }}
