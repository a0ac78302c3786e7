use strict;
use warnings;

use Test::More;

use_ok('Koha::Plugin::Com::KohaJpki::MyNumberCard');
use_ok('Koha::Plugin::Com::KohaJpki::MyNumberCard::Controller');

my $plugin = Koha::Plugin::Com::KohaJpki::MyNumberCard->new;
isa_ok( $plugin, 'Koha::Plugins::Base' );
is( $plugin->{metadata}{class},           'Koha::Plugin::Com::KohaJpki::MyNumberCard' );
is( $plugin->{metadata}{version},         $Koha::Plugin::Com::KohaJpki::MyNumberCard::VERSION );
is( $plugin->{metadata}{minimum_version}, '22.11.00.000' );
ok( $plugin->$_, "$_ succeeds" ) for qw(install upgrade uninstall);
is( $plugin->api_namespace, 'jpkibridge' );

my $pass = $plugin->api_routes->{'/pass'}{post};
is( $pass->{'x-mojo-to'}, 'Com::KohaJpki::MyNumberCard::Controller#pass' );
is_deeply( $pass->{'x-koha-authorization'},
    { permissions => { circulate => 'circulate_remaining_permissions' } }, 'a permission is demanded' );
ok( Koha::Plugin::Com::KohaJpki::MyNumberCard::Controller->can('pass'), 'the route leads somewhere' );

my $script = $plugin->static_routes->{'/mynumbercard.js'}{get};
is( $script->{'x-mojo-to'},       'Static#get' );
is( $script->{parameters}[0]{name}, 'v', 'the version in the address is declared' );
ok( -f $plugin->mbf_path('mynumbercard.js'), 'the file is in the bundle' );

done_testing;
