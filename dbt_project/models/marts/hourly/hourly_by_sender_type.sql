{{ hourly_mart('sender_type') }}
