use strict;
use warnings;

# What the bridge is told of a member of staff.

use FindBin;
use lib "$FindBin::Bin/lib";
use JSON::PP qw(encode_json);
use Test::More;

use TestPlugin qw(plugin);
use Koha::Plugin::Com::KohaJpki::MyNumberCard::Controller;

my $may = { circulate => { circulate_remaining_permissions => 1 } };
%Koha::Patrons::PATRONS = (
    8  => { userid => 'hanako', login_attempts => 2, flags => $may },
    9  => { userid => 'jiro',   flags          => {} },
    10 => { userid => undef,    flags          => $may },
    11 => { userid => 'shiro',  login_attempts => -1, flags => $may },
);

{
    no warnings 'once';
    @Mojolicious::Controller::ISA = ();
    *Mojolicious::Controller::new           = sub { my ( $class, %of ) = @_; return bless {%of}, $class };
    *Mojolicious::Controller::openapi       = sub { return $_[0] };
    *Mojolicious::Controller::valid_input   = sub { return $_[0] };
    *Mojolicious::Controller::param         = sub { return $_[0]{ $_[1] } };
    *Mojolicious::Controller::res           = sub { return $_[0] };
    *Mojolicious::Controller::headers       = sub { return $_[0] };
    *Mojolicious::Controller::cache_control = sub { $_[0]{cache} = $_[1]; return };
    *Mojolicious::Controller::render        = sub { my ( $c, %answer ) = @_; $c->{answer} = \%answer; return $c };
}

sub standing_of {
    my ( $patron_id, %other ) = @_;
    my $c = Koha::Plugin::Com::KohaJpki::MyNumberCard::Controller->new(
        patron_id  => $patron_id,
        module     => 'circulate',
        permission => 'circulate_remaining_permissions',
        %other
    );
    $c->standing;
    is( $c->{cache}, 'no-store', 'what is true now is not kept' );
    return ( $c->{answer}{status}, encode_json( $c->{answer}{openapi} ) );
}

sub says {
    my ( $document, $expected, $what ) = @_;
    like( $document, $expected, $what );
    return;
}

my ( $status, $document ) = standing_of(8);
is( $status, 200 );
says( $document, qr/"permitted":true/,    'who has the permission' );
says( $document, qr/"patron_id":8[,}]/,   'a number, not a text' );
says( $document, qr/"userid":"hanako"/,   'the name for signing in' );
says( $document, qr/"tries_left":null/,   'without the preference nobody is locked' );

( undef, $document ) = standing_of( 8, permission => 'override_renewals' );
says( $document, qr/"permitted":false/, 'another permission of the same module' );

( undef, $document ) = standing_of(9);
says( $document, qr/"permitted":false/, 'who lacks it' );

( undef, $document ) = standing_of(10);
says( $document, qr/"userid":null/,     'who cannot sign in' );
says( $document, qr/"permitted":false/, 'has no permission either' );

$C4::Context::PREFERENCES{FailedLoginAttempts} = 3;
( undef, $document ) = standing_of(8);
says( $document, qr/"tries_left":1/, 'one more, and Koha locks the account' );
( undef, $document ) = standing_of(9);
says( $document, qr/"tries_left":3/, 'who never failed' );
( undef, $document ) = standing_of(11);
says( $document, qr/"tries_left":0/, 'whom staff has locked' );
$C4::Context::PREFERENCES{FailedLoginAttempts} = 2;
( undef, $document ) = standing_of(8);
says( $document, qr/"tries_left":0/, 'whom Koha has locked' );

( $status, $document ) = standing_of(99);
is( $status, 404, 'nobody' );
says( $document, qr/Patron not found/ );

done_testing;
