use strict;
use warnings;

# Asks the bridge at $ENV{BRIDGE} as the plugin $ENV{PLUGIN_ID} with $ENV{SECRET}; a test in Python runs it.

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;

use TestPlugin qw(plugin PLUGIN_ID SECRET);
use Koha::Plugin::Com::KohaJpki::MyNumberCard::Controller;

my $data = \%Koha::Plugins::Base::DATA;

# What Koha and Mojolicious give to a controller.
{
    no warnings 'once';
    @Mojolicious::Controller::ISA = ();
    *Mojolicious::Controller::new         = sub { my ( $class, %of ) = @_; return bless {%of}, $class };
    *Mojolicious::Controller::openapi     = sub { return $_[0] };
    *Mojolicious::Controller::valid_input = sub { return $_[0] };
    *Mojolicious::Controller::stash       = sub { return $_[0]{user} };
    *Mojolicious::Controller::res         = sub { return $_[0] };
    *Mojolicious::Controller::headers     = sub { return $_[0] };
    *Mojolicious::Controller::cache_control = sub { $_[0]{cache} = $_[1]; return };
    *Mojolicious::Controller::render      = sub { my ( $c, %answer ) = @_; $c->{answer} = \%answer; return $c };
    *Patron::borrowernumber               = sub { return ${ $_[0] } };
}

sub asked {
    my ($borrowernumber) = @_;
    my $c = Koha::Plugin::Com::KohaJpki::MyNumberCard::Controller->new(
        user => bless( \$borrowernumber, 'Patron' ) );
    $c->pass;
    is( $c->{cache}, 'no-store', 'a token is not kept by a browser' );
    return ( $c->{answer}{status}, $c->{answer}{openapi} );
}

sub configured {
    my (%other) = @_;
    %{$data} = ( bridge => $ENV{BRIDGE}, plugin_id => $ENV{PLUGIN_ID}, secret => $ENV{SECRET}, %other );
    return;
}

my ( $status, $answer );

configured();
( $status, $answer ) = asked('8');
is( $status, 200, 'whom the bridge knows gets a token' );
like( $answer->{token}, qr/\A[A-Za-z0-9_-]{43}\z/ );
cmp_ok( $answer->{expires_in}, '>', 500 );

( $status, $answer ) = asked('9');
is( $status, 403, 'whom it does not know gets none' );
is_deeply( $answer, { error => 'librarian-not-found' } );

configured( secret => SECRET );
( $status, $answer ) = asked('8');
is( $status, 502, 'a wrong secret is the plugin\'s fault, not the librarian\'s' );
is_deeply( $answer, { error => 'plugin-not-authenticated' } );

configured( bridge => $ENV{NO_BRIDGE} );
( $status, $answer ) = asked('8');
is( $status, 502, 'a bridge that is away' );
is_deeply( $answer, { error => 'bridge-not-reachable' } );

for my $missing ( { secret => q{} }, { bridge => q{} }, { bridge => 'ftp://x' } ) {
    configured( %{$missing} );
    ( $status, $answer ) = asked('8');
    is( $status, 503, 'a plugin that is not configured asks nobody' );
    is_deeply( $answer, { error => 'plugin-not-configured' } );
}

done_testing;
