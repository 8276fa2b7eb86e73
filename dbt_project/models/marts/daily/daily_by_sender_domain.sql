{{ daily_mart('sender_domain') }}
