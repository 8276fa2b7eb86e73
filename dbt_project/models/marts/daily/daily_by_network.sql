{{ daily_mart('network') }}
