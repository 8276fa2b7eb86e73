{{ hourly_mart('communication') }}
