{{ hourly_mart('recipient_domain') }}
