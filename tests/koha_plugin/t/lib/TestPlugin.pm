package TestPlugin;

# A form that was sent, and the plugin that gets it.

use strict;
use warnings;

use Exporter qw(import);

our @EXPORT_OK = qw(plugin form BRIDGE PLUGIN_ID SECRET);

use constant BRIDGE    => 'https://bridge.example.jp';
use constant PLUGIN_ID => '0123456789abcdef0123456789abcdef';
use constant SECRET    => 'A' x 43;

use Koha::Plugin::Com::KohaJpki::MyNumberCard;

sub form {
    my (%values) = @_;
    return TestPlugin::Form->new(
        {
            op         => 'cud-save',
            csrf_token => 'token-of-s1',
            bridge     => BRIDGE,
            plugin_id  => PLUGIN_ID,
            secret     => SECRET,
            %values,
        }
    );
}

sub plugin {
    my ($cgi) = @_;
    return Koha::Plugin::Com::KohaJpki::MyNumberCard->new( { cgi => $cgi // TestPlugin::Form->new( {}, 'GET' ) } );
}

package TestPlugin::Form;

sub new {
    my ( $class, $values, $method ) = @_;
    return bless { values => $values, method => $method // 'POST' }, $class;
}

sub request_method { return $_[0]{method} }
sub param          { return $_[0]{values}{ $_[1] } }
sub cookie         { return 's1' }

1;
