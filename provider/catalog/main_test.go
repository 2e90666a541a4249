package catalog_test

import "flag"

// -update writes the golden files of providertest.
var _ = flag.Bool("update", false, "write the golden files")
