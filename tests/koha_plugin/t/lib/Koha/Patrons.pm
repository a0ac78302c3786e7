package Koha::Patrons;

# Koha's patrons, as the tests put them here, with what the plugin asks of one.

use strict;
use warnings;

our %PATRONS;

sub find {
    my ( $class, $borrowernumber ) = @_;
    my $patron = $PATRONS{$borrowernumber} or return;
    return bless { %{$patron}, borrowernumber => $borrowernumber }, 'Koha::Patron';
}

package Koha::Patron;

sub borrowernumber { return $_[0]{borrowernumber} }
sub userid         { return $_[0]{userid} }
sub login_attempts { return $_[0]{login_attempts} }

# As in Koha: nobody without a userid has a permission.
sub has_permission {
    my ( $self, $wanted ) = @_;
    return if !$self->userid;
    my ( $module, $permission ) = %{$wanted};
    return $self->{flags}{$module}{$permission};
}

sub account_locked {
    my ($self) = @_;
    my $limit    = C4::Context->preference('FailedLoginAttempts');
    my $attempts = $self->login_attempts || 0;
    return 1 if $limit && $attempts >= $limit;
    return $attempts < 0 ? 1 : 0;
}

1;
