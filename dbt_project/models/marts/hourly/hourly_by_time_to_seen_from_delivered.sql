{{ hourly_mart('time_to_seen_from_delivered') }}
