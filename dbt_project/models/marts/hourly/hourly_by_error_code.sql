{{ hourly_mart('error_code') }}
