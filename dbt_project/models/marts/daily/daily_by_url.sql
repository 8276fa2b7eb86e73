{{ daily_mart('url') }}
