{{ daily_mart('status') }}
