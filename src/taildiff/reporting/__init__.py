"""Tables, plots and the HTML report; imports no torch."""
