"""Other programs: tokens that let them in, webhooks that notify them."""
