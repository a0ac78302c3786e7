package Koha::Token;

# Koha's tokens against forged forms: good for one session.

use strict;
use warnings;

sub new { return bless {}, shift }

sub generate_csrf {
    my ( $self, $args ) = @_;
    return "token-of-$args->{session_id}";
}

sub check_csrf {
    my ( $self, $args ) = @_;
    return ( $args->{token} // q{} ) eq $self->generate_csrf($args);
}

1;
