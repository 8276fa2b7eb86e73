{{ daily_mart('sender') }}
