{{ daily_mart('channel') }}
