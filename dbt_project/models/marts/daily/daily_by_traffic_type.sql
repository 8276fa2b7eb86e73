{{ daily_mart('traffic_type') }}
