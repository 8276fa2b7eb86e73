{{ hourly_mart('network') }}
