package scale_test

var built struct{ dir string }
