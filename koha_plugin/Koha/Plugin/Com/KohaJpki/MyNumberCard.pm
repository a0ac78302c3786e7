package Koha::Plugin::Com::KohaJpki::MyNumberCard;

# This program is free software: you can redistribute it and/or modify it under the terms of the GNU
# General Public License as published by the Free Software Foundation, either version 3 of the License,
# or (at your option) any later version. It comes without any warranty; see the GNU General Public
# License, <https://www.gnu.org/licenses/>.

# The My Number Card in Koha's staff pages. The bridge (koha-jpki-bridge) does the work; this plugin says
# to it who is signed in, and brings one script into the pages. Its secret stays on this server. Where staff
# sign in to the bridge with Koha's password, it also says whether they have a permission.

use strict;
use warnings;

use base qw(Koha::Plugins::Base);

use HTTP::Tiny;
use JSON::PP qw(decode_json encode_json);
use MIME::Base64 qw(encode_base64);

use C4::Context;
use C4::Languages;
use Koha::Patrons;
use Koha::Token;

our $VERSION = '0.1.0';

our $metadata = {
    name            => 'マイナンバーカード / My Number Card',
    author          => 'The authors of koha-jpki-bridge',
    description     => 'マイナンバーカードで利用者を確認し、連携する / Tell patrons by the My Number Card, and link it',
    date_authored   => '2026-11-21',
    date_updated    => '2026-11-21',
    minimum_version => '22.11.00.000',
    maximum_version => undef,
    version         => $VERSION,
    namespace       => 'jpkibridge',
};

# Seconds. A librarian waits for it.
use constant TIMEOUT => 5;

# The bridge's address: an origin; http on this machine alone, for a trial.
my $BRIDGE = qr{ \A (?: https://[A-Za-z0-9.-]+ | http://(?:127[.]0[.]0[.]1|localhost) ) (?: :[0-9]{1,5} )? \z }xms;

my $PLUGIN_ID = qr{ \A [0-9a-f]{32} \z }xms;
my $SECRET    = qr{ \A [A-Za-z0-9_-]{43} \z }xms;

sub new {
    my ( $class, $args ) = @_;
    $args->{metadata} = $metadata;
    $args->{metadata}{class} = $class;
    return $class->SUPER::new($args);
}

sub install   { return 1 }
sub upgrade   { return 1 }

sub uninstall {
    my ($self) = @_;
    $self->store_data( { bridge => q{}, plugin_id => q{}, secret => q{}, secret_encrypted => q{} } );
    return 1;
}

# --- the page on which an administrator enters address, id and secret

sub configure {
    my ($self) = @_;
    my $cgi = $self->{cgi};
    my ( $problem, $saved );
    if ( ( $cgi->request_method // q{} ) eq 'POST' && ( $cgi->param('op') // q{} ) eq 'cud-save' ) {
        $problem = $self->_save;
        $saved   = !$problem;
    }
    my $template = $self->get_template( { file => 'configure-' . $self->_language . '.tt' } );
    $template->param(
        bridge     => $self->retrieve_data('bridge'),
        plugin_id  => $self->retrieve_data('plugin_id'),
        has_secret => defined $self->_secret,
        is_plain   => !!$self->retrieve_data('secret'),
        problem    => $problem,
        saved      => $saved,
        # Koha 24.05 and later ask for this token by themselves; before that nobody else does.
        csrf_token => Koha::Token->new->generate_csrf( { session_id => $self->_session_id } ),
    );
    return $self->output_html( $template->output );
}

# Returns the name of what is wrong, or nothing.
sub _save {
    my ($self) = @_;
    my $cgi = $self->{cgi};
    my $is_ours = Koha::Token->new->check_csrf(
        { session_id => $self->_session_id, token => scalar $cgi->param('csrf_token') } );
    return 'form' if !$is_ours;

    my ( $bridge, $plugin_id, $secret ) =
        map { my $value = $cgi->param($_) // q{}; $value =~ s/\A\s+|\s+\z//gxms; $value } qw(bridge plugin_id secret);
    $bridge =~ s{/\z}{}xms;
    return 'bridge'    if $bridge !~ $BRIDGE;
    return 'plugin_id' if $plugin_id !~ $PLUGIN_ID;

    # A secret is never sent to another address than the one that it was entered for.
    my $is_same = $bridge eq ( $self->retrieve_data('bridge') // q{} ) && defined $self->_secret;
    return 'secret' if $secret eq q{} ? !$is_same : $secret !~ $SECRET;

    $self->_store_secret($secret) if $secret ne q{};
    $self->store_data( { bridge => $bridge, plugin_id => $plugin_id } );
    return;
}

# store_data keeps plain text. Where this Koha can encrypt, the secret is encrypted first.
sub _store_secret {
    my ( $self, $secret ) = @_;
    my $encrypted = eval { require Koha::Encryption; Koha::Encryption->new->encrypt_hex($secret) };
    $self->store_data(
        defined $encrypted
        ? { secret => q{}, secret_encrypted => $encrypted }
        : { secret => $secret, secret_encrypted => q{} }
    );
    return;
}

sub _secret {
    my ($self) = @_;
    my $encrypted = $self->retrieve_data('secret_encrypted');
    if ($encrypted) {
        return scalar eval { require Koha::Encryption; Koha::Encryption->new->decrypt_hex($encrypted) };
    }
    return $self->retrieve_data('secret') || undef;
}

sub _session_id {
    my ($self) = @_;
    return scalar $self->{cgi}->cookie('CGISESSID');
}

sub _language {
    my ($self) = @_;
    return C4::Languages::getlanguage( $self->{cgi} ) =~ /\Aja/xms ? 'ja' : 'en';
}

# --- what the pages get

# Nothing secret stands in it, and nothing that runs but the file that it names.
sub intranet_js {
    my ($self) = @_;
    my $bridge = $self->retrieve_data('bridge') // q{};
    return q{} if $bridge !~ $BRIDGE;
    my $root = '/api/v1/contrib/' . $self->api_namespace;
    return qq{<script src="$root/static/mynumbercard.js?v=$VERSION"}
        . qq{ data-bridge="$bridge" data-pass="$root/pass"></script>};
}

sub api_namespace { return 'jpkibridge' }

sub api_routes {
    my ($self) = @_;
    return decode_json( $self->mbf_read('openapi.json') );
}

sub static_routes {
    my ($self) = @_;
    return decode_json( $self->mbf_read('staticapi.json') );
}

# --- what the bridge asks

# Whether somebody has one permission, and how many wrong passwords Koha still takes before it locks the
# account: undef where it locks none. Returns an HTTP status and a document.
sub staff_standing {
    my ( $self, $borrowernumber, $module, $permission ) = @_;
    my $patron = Koha::Patrons->find($borrowernumber);
    return ( 404, { error => 'Patron not found' } ) if !$patron;

    my $limit = C4::Context->preference('FailedLoginAttempts');
    my $left = $limit ? $limit - ( $patron->login_attempts // 0 ) : undef;
    return (
        200,
        {
            patron_id  => 0 + $patron->borrowernumber,
            userid     => $patron->userid,
            permitted  => $patron->has_permission( { $module => $permission } ) ? JSON::PP::true : JSON::PP::false,
            tries_left => $patron->account_locked ? 0 : $left,
        }
    );
}

# --- the bridge

# Asks the bridge for a short-lived token for who is signed in. Returns an HTTP status and a document:
# the token and its seconds, or the name of what is wrong.
sub open_desk {
    my ( $self, $borrowernumber ) = @_;
    my ( $bridge, $plugin_id, $secret ) =
        ( $self->retrieve_data('bridge') // q{}, $self->retrieve_data('plugin_id') // q{}, $self->_secret );
    return ( 503, { error => 'plugin-not-configured' } ) if $bridge !~ $BRIDGE || !defined $secret;

    my $http = HTTP::Tiny->new( timeout => TIMEOUT, max_redirect => 0, verify_SSL => 1 );
    my $answer = $http->request(
        'POST',
        "$bridge/api/v1/desk/passes",
        {
            headers => {
                'Authorization' => 'Basic ' . encode_base64( "$plugin_id:$secret", q{} ),
                'Content-Type'  => 'application/json',
            },
            content => encode_json( { koha_patron_id => 0 + $borrowernumber } ),
        }
    );
    my $document = eval { decode_json( $answer->{content} ) };
    return ( 502, { error => 'bridge-not-reachable' } ) if ref $document ne 'HASH';

    if ( $answer->{status} == 201 && defined $document->{token} ) {
        return ( 200, { token => $document->{token}, expires_in => 0 + $document->{expires_in} } );
    }
    my ($problem) = ( $document->{type} // q{} ) =~ /\Aurn:koha-jpki-bridge:problem:([a-z-]+)\z/xms;
    my $is_about_the_user = $answer->{status} == 403 || $answer->{status} == 404;
    return ( $is_about_the_user ? 403 : 502, { error => $problem // 'bridge-not-reachable' } );
}

1;
