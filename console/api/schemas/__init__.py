"""What goes over the wire: the bodies that are posted and the answers to them."""
