use strict;
use warnings;
use utf8;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;

use TestPlugin qw(plugin form BRIDGE PLUGIN_ID SECRET);

my $data = \%Koha::Plugins::Base::DATA;

sub saved {
    my (%values) = @_;
    my $plugin = plugin( form(%values) );
    $plugin->configure;
    return $plugin->{shown};
}

subtest 'the page is shown in Japanese and English, and asks with a token' => sub {
    %{$data} = ();
    for my $case ( [ 'ja-Jpan-JP', '保存する' ], [ 'en', 'value="Save"' ], [ 'fr-FR', 'value="Save"' ] ) {
        local $C4::Languages::LANGUAGE = $case->[0];
        my $plugin = plugin();
        $plugin->configure;
        like( $plugin->{shown}, qr/$case->[1]/, $case->[0] );
        like( $plugin->{shown}, qr/name="csrf_token" value="token-of-s1"/ );
        like( $plugin->{shown}, qr/name="op" value="cud-save"/ );
        like( $plugin->{shown}, qr/method="post"/ );
    }
    is_deeply( $data, {}, 'looking stores nothing' );
};

subtest 'what is right is saved, the secret encrypted and never shown' => sub {
    %{$data} = ();
    my $html = saved( bridge => BRIDGE . '/' );
    like( $html, qr/Saved[.]/ );
    is( $data->{bridge}, BRIDGE, 'without a slash at its end' );
    is( $data->{secret}, q{},    'no plain text' );
    isnt( $data->{secret_encrypted}, SECRET );
    unlike( $html, qr/${\ SECRET}/ );
    unlike( $html, qr/plain text/ );
    $html = saved( secret => q{} );
    like( $html, qr/Saved[.]/, 'an empty secret keeps the old one' );
    ok( $data->{secret_encrypted} );
};

subtest 'where Koha cannot encrypt, the page says that the secret is plain text' => sub {
    %{$data} = ();
    local $Koha::Encryption::HAS_KEY = 0;
    like( saved(), qr/plain text/ );
    is( $data->{secret}, SECRET );
};

subtest 'a form that is not ours changes nothing' => sub {
    %{$data} = ();
    like( saved( csrf_token => $_ ), qr/nothing was saved/ ) for q{}, 'token-of-s2';
    saved( op => 'save' );
    my $plugin = plugin( TestPlugin::Form->new( form()->{values}, 'GET' ) );
    $plugin->configure;
    is_deeply( $data, {} );
};

subtest 'what is wrong is named and changes nothing' => sub {
    %{$data} = ();
    like( saved( bridge => $_ ), qr/no address of a bridge/, $_ )
        for 'bridge.example.jp', 'http://bridge.example.jp', 'javascript:alert(1)',
        'https://user@bridge.example.jp', 'https://bridge.example.jp/"><script>', 'https://b/path';
    like( saved( plugin_id => $_ ), qr/no plugin id/ ) for q{}, 'x', PLUGIN_ID . '0';
    like( saved( secret => $_ ),    qr/no secret/ )    for q{}, 'short', 'A' x 44;
    is_deeply( $data, {} );
};

subtest 'a secret is not sent to another address than it was entered for' => sub {
    %{$data} = ();
    saved();
    like( saved( bridge => 'https://elsewhere.example', secret => q{} ), qr/entered again/ );
    is( $data->{bridge}, BRIDGE );
};

subtest 'what was entered is shown as text' => sub {
    %{$data} = ( bridge => '"><script>alert(1)</script>' );
    my $plugin = plugin();
    $plugin->configure;
    unlike( $plugin->{shown}, qr/<script>alert/ );
};

subtest 'the page gets one script, which names the bridge and no secret' => sub {
    %{$data} = ();
    is( plugin()->intranet_js, q{}, 'nothing before it is configured' );
    saved();
    my $version = $Koha::Plugin::Com::KohaJpki::MyNumberCard::VERSION;
    is( plugin()->intranet_js,
        qq{<script src="/api/v1/contrib/jpkibridge/static/mynumbercard.js?v=$version"}
            . qq{ data-bridge="https://bridge.example.jp" data-pass="/api/v1/contrib/jpkibridge/pass"></script>} );
    $data->{bridge} = '"><script>';
    is( plugin()->intranet_js, q{}, 'whatever stands in the table' );
};

subtest 'nothing is left after the plugin is removed' => sub {
    saved();
    plugin()->uninstall;
    is( join( q{}, values %{$data} ), q{} );
};

done_testing;
