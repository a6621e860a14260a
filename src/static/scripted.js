// This page grows for browsers without scripts; one that runs this takes the page that updates itself.
location.replace(location.pathname + location.hash);
