{{ daily_mart('status_group') }}
