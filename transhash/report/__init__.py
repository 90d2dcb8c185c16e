"""Reports: results files, and the pages and tables that are drawn from them."""
