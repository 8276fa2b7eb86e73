{{ daily_mart('account') }}
