{{ daily_mart('error_code') }}
