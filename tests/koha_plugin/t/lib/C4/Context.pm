package C4::Context;

# Koha's preferences, as the tests set them.

use strict;
use warnings;

our %PREFERENCES;

sub preference { return $PREFERENCES{ $_[1] } }

1;
