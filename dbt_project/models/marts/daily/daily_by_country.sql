{{ daily_mart('country') }}
