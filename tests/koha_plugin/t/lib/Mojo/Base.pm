package Mojo::Base;

# What the controller uses of Mojolicious: the import that turns on strictness and sets the parent.

use strict;
use warnings;

sub import {
    my ( $class, $parent ) = @_;
    strict->import;
    warnings->import;
    no strict 'refs';
    push @{ caller() . '::ISA' }, $parent;
    return;
}

1;
