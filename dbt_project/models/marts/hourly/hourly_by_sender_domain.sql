{{ hourly_mart('sender_domain') }}
