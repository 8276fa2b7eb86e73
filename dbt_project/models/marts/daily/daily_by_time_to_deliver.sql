{{ daily_mart('time_to_deliver') }}
