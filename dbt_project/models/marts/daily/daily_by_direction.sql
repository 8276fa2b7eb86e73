{{ daily_mart('direction') }}
