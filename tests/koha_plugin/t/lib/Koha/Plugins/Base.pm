package Koha::Plugins::Base;

# What the plugin uses of Koha's base class: storage, templates (real Template Toolkit), files of the bundle.

use strict;
use warnings;

use File::Basename qw(dirname);
use Template;

our %DATA;    # what is stored

sub new {
    my ( $class, $args ) = @_;
    return bless { %{ $args || {} } }, $class;
}

sub store_data {
    my ( $self, $data ) = @_;
    %DATA = ( %DATA, %{$data} );
    return;
}

sub retrieve_data {
    my ( $self, $key ) = @_;
    return $DATA{$key};
}

sub mbf_path {
    my ( $self, $file ) = @_;
    ( my $module = ref $self || $self ) =~ s{::}{/}gxms;
    return $INC{"$module.pm"} =~ s{[.]pm\z}{/$file}rxms;
}

sub mbf_read {
    my ( $self, $file ) = @_;
    open my $handle, '<', $self->mbf_path($file) or die "$file: $!";
    local $/ = undef;
    return scalar <$handle>;
}

sub get_template {
    my ( $self, $args ) = @_;
    return Koha::Plugins::Base::Page->new( $self->mbf_path( $args->{file} ), ref $self );
}

sub output_html {
    my ( $self, $html ) = @_;
    $self->{shown} = $html;
    return;
}

package Koha::Plugins::Base::Page;

sub new {
    my ( $class, $path, $plugin ) = @_;
    return bless { path => $path, values => { CLASS => $plugin } }, $class;
}

sub param {
    my ( $self, %values ) = @_;
    $self->{values} = { %{ $self->{values} }, %values };
    return;
}

sub output {
    my ($self) = @_;
    ( my $includes = File::Basename::dirname(__FILE__) ) =~ s{/lib/Koha/Plugins\z}{/includes}xms;
    my $template = Template->new( ABSOLUTE => 1, ENCODING => 'utf8', INCLUDE_PATH => $includes );
    $template->process( $self->{path}, $self->{values}, \my $html ) or die $template->error;
    return $html;
}

1;
