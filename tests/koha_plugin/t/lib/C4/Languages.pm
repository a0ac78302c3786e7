package C4::Languages;

use strict;
use warnings;

our $LANGUAGE = 'en';

sub getlanguage { return $LANGUAGE }

1;
