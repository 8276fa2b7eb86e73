{{ daily_mart('recipient_domain') }}
