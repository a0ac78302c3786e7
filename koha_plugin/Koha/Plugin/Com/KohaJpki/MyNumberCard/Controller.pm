package Koha::Plugin::Com::KohaJpki::MyNumberCard::Controller;

# This program is free software: you can redistribute it and/or modify it under the terms of the GNU
# General Public License as published by the Free Software Foundation, either version 3 of the License,
# or (at your option) any later version. It comes without any warranty; see the GNU General Public
# License, <https://www.gnu.org/licenses/>.

use Mojo::Base 'Mojolicious::Controller';

use Koha::Plugin::Com::KohaJpki::MyNumberCard;

# The librarian's token for the bridge. Koha has asked for session and permission (openapi.json).
sub pass {
    my $c    = shift->openapi->valid_input or return;
    my $user = $c->stash('koha.user');
    my ( $status, $document ) =
        Koha::Plugin::Com::KohaJpki::MyNumberCard->new->open_desk( $user->borrowernumber );
    $c->res->headers->cache_control('no-store');
    return $c->render( status => $status, openapi => $document );
}

# What the bridge asks of a member of staff who signs in to it with Koha's password.
sub standing {
    my $c = shift->openapi->valid_input or return;
    my ( $status, $document ) = Koha::Plugin::Com::KohaJpki::MyNumberCard->new->staff_standing(
        map { scalar $c->param($_) } qw(patron_id module permission) );
    $c->res->headers->cache_control('no-store');
    return $c->render( status => $status, openapi => $document );
}

1;
