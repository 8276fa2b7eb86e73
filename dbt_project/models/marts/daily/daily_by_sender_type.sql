{{ daily_mart('sender_type') }}
