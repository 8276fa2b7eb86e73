{{ daily_mart('campaign_reference') }}
