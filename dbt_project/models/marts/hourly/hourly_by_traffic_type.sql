{{ hourly_mart('traffic_type') }}
