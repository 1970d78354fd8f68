"""What a training reads: packed rows, general-domain rows, a preview of both."""
